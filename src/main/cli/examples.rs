//! Examples that the help shows.

pub const LS: &str = "Examples:
  nats-scheduler ls --tag reports --sort next_run_at
  nats-scheduler ls --failing -o wide
  nats-scheduler ls --all -o name | wc -l";
pub const GET: &str = "Examples:
  nats-scheduler get nightly
  nats-scheduler get nightly --creator ops -o yaml";
pub const NEXT: &str = "Examples:
  nats-scheduler next nightly -n 3
  nats-scheduler next --all --to 1d --tag reports";
pub const HISTORY: &str = "Examples:
  nats-scheduler history nightly --since 1d
  nats-scheduler history --status failed,cancelled -o json
  nats-scheduler history --execution 01a2100b-b8ad-87e1-be65-2088586088f6";
pub const WHY: &str = "Examples:
  nats-scheduler why nightly
  nats-scheduler why nightly --from 2026-11-20 --to 2026-11-21";
pub const RUNNING: &str = "Examples:
  nats-scheduler running
  nats-scheduler running nightly --pending";
pub const LOGS: &str = "Examples:
  nats-scheduler logs nightly --since 1d
  nats-scheduler logs -f --tag reports
  nats-scheduler logs -f -n 0 -o json | jq -c 'select(.status == \"failed\")'";
pub const STATS: &str = "Examples:
  nats-scheduler stats --hours 24
  nats-scheduler stats nightly -o json";
pub const AUDIT: &str = "Examples:
  nats-scheduler audit nightly
  nats-scheduler audit --by alice --event deleted --since 1w";
pub const TOP: &str = "It asks once a second, for no more than the screen has room for.

Examples:
  nats-scheduler top
  NO_COLOR=1 nats-scheduler top --context prod";
pub const STATUS: &str = "The exit code is 1 if something needs an operator.

Examples:
  nats-scheduler status
  nats-scheduler status --server nats://prod:4222 -o json";
pub const CREATE: &str = "Examples:
  nats-scheduler create nightly --cron '0 2 * * MON-FRI' -z Europe/Berlin -t cmd.report.build
  nats-scheduler create hello --every 5s --target cmd.example.hello --payload '{\"text\":\"hi\"}'
  nats-scheduler create mail --after nightly --on failure --target cmd.notification.mail
  nats-scheduler create once --at 'in 2h' --target cmd.example.once --dry-run";
pub const RUN: &str = "Examples:
  nats-scheduler run nightly --wait
  nats-scheduler run nightly --wait=10m --payload '{\"day\":\"2026-11-27\"}'";
pub const PAUSE: &str = "Examples:
  nats-scheduler pause nightly weekly --reason maintenance --for 2h
  nats-scheduler pause --tag reports --dry-run
  nats-scheduler pause --all --reason 'the database moves' --for 1h";
pub const RESUME: &str = "Examples:
  nats-scheduler resume nightly
  nats-scheduler resume --tag reports --yes
  nats-scheduler resume --all --yes";
pub const RM: &str = "Examples:
  nats-scheduler rm nightly weekly
  nats-scheduler rm --prefix test- --dry-run";
pub const RESTORE: &str = "Examples:
  nats-scheduler restore nightly";
pub const RETRY: &str = "Examples:
  nats-scheduler retry 01a2100b-b8ad-87e1-be65-2088586088f6 --wait
  nats-scheduler retry 01a2100b-b8ad-87e1-be65-2088586088f6 --current --dry-run
  nats-scheduler retry --failed --schedule nightly --since 2h --dry-run
  nats-scheduler retry --failed --error-type no_stream --sent-to cmd.reports.nightly
  nats-scheduler retry --failed --tag outage --in-background";
pub const RERUN: &str = "Examples:
  nats-scheduler retry --failed --tag outage --in-background
  nats-scheduler rerun ls";
pub const RERUN_LS: &str = "Examples:
  nats-scheduler rerun ls -o wide";
pub const RERUN_GET: &str = "Examples:
  nats-scheduler rerun get 0193a1f0-5b7e-4f3a-9c58-52b1d6a7e0c4";
pub const RERUN_CANCEL: &str = "Examples:
  nats-scheduler rerun cancel 0193a1f0-5b7e-4f3a-9c58-52b1d6a7e0c4";
pub const CANCEL: &str = "Examples:
  nats-scheduler cancel 01a2100b-b8ad-87e1-be65-2088586088f6 --reason 'not needed any more'";
pub const BACKFILL: &str = "Examples:
  nats-scheduler backfill nightly --from 2026-11-20 --to 2026-11-27 --dry-run";
pub const COMPLETION: &str = "Examples:
  source <(nats-scheduler completion bash)
  nats-scheduler completion fish > ~/.config/fish/completions/nats-scheduler.fish";
pub const PLAN: &str = "Examples:
  nats-scheduler plan -f schedules/ --owner git:ops/schedules --prune
  nats-scheduler plan -f nightly.yaml --detailed-exitcode
  nats-scheduler export --creator ops | nats-scheduler plan -f - -s nats://staging:4222";
pub const APPLY: &str = "Schedules that the files do not have stay, unless --prune is given, and are deleted only after all
files have been applied. What Ctrl-C or a lost connection leaves undone the same command does.

Examples:
  nats-scheduler apply -f schedules/ --owner git:ops/schedules --prune --yes
  nats-scheduler apply -f nightly.yaml";
pub const EXPORT: &str = "Examples:
  nats-scheduler export --owned-by git:ops/schedules > schedules.yaml
  nats-scheduler export nightly weekly -o json";
pub const SCHEMA: &str = "Examples:
  nats-scheduler schema > schedules.schema.json";
pub const WATCH: &str = "Examples:
  nats-scheduler watch
  nats-scheduler watch nightly --status failed -n 1 && echo 'nightly has failed'";
pub const EDIT: &str = "The editor is that of VISUAL or EDITOR. What changes is shown first, and is applied only if nobody else
has changed the schedule meanwhile.

Examples:
  nats-scheduler edit nightly
  nats-scheduler edit nightly --set priority=7 --set 'cron_expression=0 3 * * *' --dry-run
  EDITOR='code --wait' nats-scheduler edit nightly";
pub const IMPORT: &str = "Nothing is created: the files are printed, and what became of each entry is said on standard error.
The exit code is 1 if one was left out.

Examples:
  crontab -l | nats-scheduler import crontab - --target 'cmd.cron.{name}' > schedules.yaml
  kubectl get cronjobs -o yaml | nats-scheduler import kubernetes - --target cmd.jobs.run
  nats-scheduler import nats ORDERS --subjects 'orders.schedule.>' > schedules.yaml";
pub const GROUP: &str = "Examples:
  nats-scheduler group put warehouse --limit 2
  nats-scheduler group ls";
pub const GROUP_LS: &str = "Examples:
  nats-scheduler group ls";
pub const GROUP_GET: &str = "Examples:
  nats-scheduler group get warehouse";
pub const GROUP_PUT: &str =
    "Nothing is begun beyond the new limit, once the command has ended. What is under way goes on.

Examples:
  nats-scheduler group put warehouse --limit 2 -d 'Heavy queries'
  nats-scheduler group put warehouse --limit 0";
pub const GROUP_RM: &str = "Examples:
  nats-scheduler group rm warehouse";
pub const CALENDAR: &str = "Examples:
  nats-scheduler calendar put holidays --ics holidays.ics
  nats-scheduler calendar ls";
pub const CALENDAR_LS: &str = "Examples:
  nats-scheduler calendar ls";
pub const CALENDAR_GET: &str = "Examples:
  nats-scheduler calendar get holidays -o yaml";
pub const CALENDAR_PUT: &str =
    "Nothing is due by what the calendar said before, once the command has ended.

Examples:
  nats-scheduler calendar put holidays --ics holidays.ics -d 'Public holidays'
  nats-scheduler calendar put freeze --day 2026-12-24/2027-01-01";
pub const CALENDAR_RM: &str = "Examples:
  nats-scheduler calendar rm freeze";
