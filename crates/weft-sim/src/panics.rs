//! Panics in a simulated task, which would otherwise end in a handle that nobody looks at.
//!
//! A hook, set once per process, keeps the first panic of each thread that simulates. A panic that
//! is caught on purpose counts as well: simulated code has no business panicking.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Present while this thread simulates.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Panics of this thread are kept while this exists. They are not when one was there before.
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn new() -> Watch {
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                let keep = |first: &RefCell<Option<Option<String>>>| {
                    if let Ok(mut first) = first.try_borrow_mut()
                        && let Some(first) = first.as_mut()
                    {
                        first.get_or_insert_with(|| describe(panic));
                    }
                };
                // Without the thread's own store there is nowhere to keep it: the thread is ending.
                let _kept = FIRST.try_with(keep);
                before(panic);
            }));
        });
        FIRST.set(Some(None));
        Watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        FIRST.set(None);
    }
}

fn describe(panic: &panic::PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("without a message");
    match panic.location() {
        Some(place) => format!("at {}:{}: {message}", place.file(), place.line()),
        None => message.to_owned(),
    }
}

/// The first panic of this thread since it was last asked.
pub(crate) fn take() -> Option<String> {
    FIRST.with_borrow_mut(|first| first.as_mut().and_then(Option::take))
}
