//! How far work is, for whoever shows it.

/// Hears of work that takes long. Libraries tell it, and show nothing themselves; `()` is silent.
pub trait Progress: Sync {
    /// A stage begins, of so many steps; of 0 where they are not counted.
    fn begin(&self, stage: &str, steps: usize) {
        _ = (stage, steps);
    }

    /// One more step of the stage is done; `message` says how it stands, or nothing.
    fn advance(&self, message: &str) {
        _ = message;
    }

    /// A number that a step of the stage measured, such as the `loss` of an epoch; steps are counted from 1.
    fn measured(&self, name: &str, step: usize, value: f64) {
        _ = (name, step, value);
    }

    /// So many steps of the stage are done.
    fn reach(&self, done: usize, message: &str) {
        _ = (done, message);
    }
}

impl Progress for () {}
