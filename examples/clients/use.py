"""Uses a client that openapi-python-client has made of the service's OpenAPI document: see README.md."""

import sys

from scheduler import AuthenticatedClient
from scheduler.api.schedules import schedule_create, schedule_delete, schedule_get, schedule_list
from scheduler.models import Code, ErrorReply, ScheduleCreateBody, ScheduleType, Status

url, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)
body = ScheduleCreateBody(
    name="generated",
    schedule_type=ScheduleType.INTERVAL,
    interval_seconds=60,
    target_command="cmd.example.x",
)
created = schedule_create.sync(client=client, body=body)
assert created.data.name == "generated" and created.data.status is Status.ACTIVE, created
got = schedule_get.sync(created.data.id, client=client)
assert got.data.id == created.data.id and got.data.interval_seconds == 60, got
listed = schedule_list.sync(client=client, limit=10)
assert [one.id for one in listed.data] == [created.data.id], listed
refused = schedule_create.sync_detailed(client=client, body=body)
assert refused.status_code == 409 and isinstance(refused.parsed, ErrorReply), refused
assert refused.parsed.error.code is Code.ALREADY_EXISTS, refused
schedule_delete.sync_detailed(created.data.id, client=client)
