//! Named points at which a test makes the process die, stand still, or lose an acknowledgement, to prove what
//! the module comments promise. Builds without debug assertions, such as releases, do not contain them.

/// Aborts the process if [`reached`].
pub(crate) fn failpoint(name: &str) {
    if reached(name) {
        std::process::abort();
    }
}

/// Panics if a test has it do so here.
pub fn panic_at(name: &str) {
    assert!(!reached(name), "told to panic at {name}");
}

/// Blocks the thread if [`reached`], until the file named by `NATS_SCHEDULER_FAILPOINT_UNTIL` exists.
pub(crate) fn pause(name: &str) {
    if reached(name)
        && let Some(file) = std::env::var_os("NATS_SCHEDULER_FAILPOINT_UNTIL")
    {
        tracing::info!(name, "standing still");
        let file = std::path::PathBuf::from(file);
        tokio::task::block_in_place(|| {
            while !file.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
    }
}

/// Whether the environment variable `NATS_SCHEDULER_FAILPOINT` names this point, as `name` or `name:n`
/// for its n-th passing.
#[cfg(debug_assertions)]
pub(crate) fn reached(name: &str) -> bool {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static POINT: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let text = std::env::var("NATS_SCHEDULER_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);
    POINT.as_ref().is_some_and(|(point, count)| {
        point == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    })
}

#[cfg(not(debug_assertions))]
pub(crate) fn reached(_name: &str) -> bool {
    false
}

/// Waits until the file named by the environment variable `NATS_SCHEDULER_FAILPOINT_UNTIL` exists, so that a
/// test can act while an instance stands at the point.
#[cfg(debug_assertions)]
pub(crate) async fn held(name: &str) {
    let Ok(file) = std::env::var("NATS_SCHEDULER_FAILPOINT_UNTIL") else { return };
    tracing::info!("held at {name}");
    while !std::path::Path::new(&file).exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[cfg(not(debug_assertions))]
pub(crate) async fn held(_name: &str) {}
