//! Long work: on a thread of its own, while the interpreter runs other threads, hears how far it is, and is
//! there for Ctrl-C.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use gram::{Error, Progress};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::exception;

/// How often Python is asked whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// What work tells on its way.
enum Event {
    Begin(String, usize),
    Advance(String),
    Measured(String, usize, f64),
    Reach(usize, String),
    /// What the observer answers is waited for.
    Ask(&'static str, Vec<u8>, Sender<Vec<Vec<u8>>>),
}

enum Message<T> {
    Event(Event),
    Done(thread::Result<Result<T, Error>>),
}

/// Hears of the work for Python, and ends the work at its next word once nobody waits for it any more.
pub struct Watch {
    tell: Box<dyn Fn(Event) + Send + Sync>,
    is_left: Arc<AtomicBool>,
}

impl Watch {
    fn hear(&self, event: Event) {
        if self.is_left.load(Ordering::Relaxed) {
            // Unwinds without a word.
            resume_unwind(Box::new(()));
        }
        (self.tell)(event);
    }

    /// Asks the observer for something of other processes, as `observer(what, from)`.
    pub fn ask(&self, what: &'static str, from: Vec<u8>) -> Vec<Vec<u8>> {
        let (send, receive) = channel();
        self.hear(Event::Ask(what, from, send));
        // Nobody answers once nobody waits for the work.
        receive.recv().unwrap_or_else(|_| resume_unwind(Box::new(())))
    }
}

impl Progress for Watch {
    fn begin(&self, stage: &str, steps: usize) {
        self.hear(Event::Begin(stage.to_owned(), steps));
    }

    fn advance(&self, message: &str) {
        self.hear(Event::Advance(message.to_owned()));
    }

    fn measured(&self, name: &str, step: usize, value: f64) {
        self.hear(Event::Measured(name.to_owned(), step, value));
    }

    fn reach(&self, done: usize, message: &str) {
        self.hear(Event::Reach(done, message.to_owned()));
    }
}

/// Does `work`, and tells `observer` how far it is, as `observer(event, …)`. An exception of the observer, or
/// Ctrl-C, ends the wait at once, and the work soon after.
///
/// # Errors
/// What the work or the observer says, or `KeyboardInterrupt`.
pub fn run<T: Send + 'static>(
    python: Python<'_>,
    observer: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let (send, receive) = channel();
    let is_left = Arc::new(AtomicBool::new(false));
    let tell = {
        let send = send.clone();
        // Sending fails once nobody waits for the work.
        Box::new(move |event| drop(send.send(Message::Event(event))))
    };
    let watch = Watch { tell, is_left: Arc::clone(&is_left) };
    let body = move || {
        let done = catch_unwind(AssertUnwindSafe(|| match own_threads() {
            Some(threads) => threads.install(|| work(&watch)),
            None => work(&watch),
        }));
        drop(send.send(Message::Done(done)));
    };
    thread::Builder::new().name("gram".into()).spawn(body)?;
    let waited = wait(python, observer, receive);
    is_left.store(true, Ordering::Relaxed);
    waited?
        .map_err(|panic| PyRuntimeError::new_err(format!("gram failed: {}", said(panic.as_ref()))))?
        .map_err(exception)
}

/// What the work ends in.
fn wait<T: Send>(
    python: Python<'_>,
    observer: Option<&Bound<'_, PyAny>>,
    receive: Receiver<Message<T>>,
) -> PyResult<thread::Result<Result<T, Error>>> {
    let receive = Mutex::new(receive);
    let next =
        || receive.lock().map_or(Err(RecvTimeoutError::Disconnected), |receive| receive.recv_timeout(LOOK));
    loop {
        match python.detach(next) {
            Ok(Message::Done(done)) => return Ok(done),
            Ok(Message::Event(event)) => {
                if let Some(observer) = observer {
                    match event {
                        Event::Begin(stage, steps) => observer.call1(("begin", stage, steps))?,
                        Event::Advance(message) => observer.call1(("advance", message))?,
                        Event::Measured(name, step, value) => {
                            observer.call1(("measured", name, step, value))?
                        }
                        Event::Reach(done, message) => observer.call1(("reach", done, message))?,
                        Event::Ask(what, from, answer) => {
                            let found = observer.call1((what, PyBytes::new(python, &from)))?;
                            // Receiving fails once the work is gone.
                            drop(answer.send(found.extract()?));
                            found
                        }
                    };
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("gram's thread is gone"));
            }
        }
        python.check_signals()?;
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says no more")
}

/// The process that imported the module.
static IMPORTED_BY: OnceLock<u32> = OnceLock::new();

/// Notes which process this is, to know a process that is forked later.
pub fn note_process() {
    _ = IMPORTED_BY.set(process::id());
}

/// Threads of a process that was forked: those that its parent shared work among are not in it, and waiting
/// for them would take for ever.
fn own_threads() -> Option<Arc<ThreadPool>> {
    static OWN: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);
    let id = process::id();
    if IMPORTED_BY.get() == Some(&id) {
        return None;
    }
    let mut own = OWN.lock().ok()?;
    if own.as_ref().is_none_or(|(process, _)| *process != id) {
        *own = Some((id, Arc::new(ThreadPoolBuilder::new().build().ok()?)));
    }
    own.as_ref().map(|(_, threads)| Arc::clone(threads))
}
