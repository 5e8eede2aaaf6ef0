//! Panics of tasks that nobody awaits: tokio catches them, and the run might well succeed in spite of them.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// The first panic of this thread since the last look. All hosts of a simulation run in one thread.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics of this thread from now on.
pub(crate) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert_with(|| format!("a task panicked: {panic}")).clone()
            });
            usual(panic);
        }));
    });
    take();
}

/// The first panic that was not taken yet.
pub(crate) fn take() -> Option<String> {
    FIRST.take()
}
