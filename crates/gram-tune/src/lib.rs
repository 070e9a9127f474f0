//! Few-shot tuning.
//!
//! [`method_table`] has a row of facts for each method. [`adaptation`] tunes its prompt on a few shots:
//! [`descent`] is the one loop, and [`gradient_chain`] what it does with a gradient, GRAM's regulator among
//! it. [`views`] are the images as each epoch sees them, [`prepared`] a dataset as a model sees it, and
//! [`tuned`] what is left in the end.

pub mod adaptation;
pub mod descent;
pub mod design;
pub mod examination;
pub mod gradient_chain;
pub mod kgcoop;
pub mod method;
pub mod method_table;
pub mod out_of_range;
pub mod prepared;
pub mod prompt_distribution;
pub mod score;
pub mod tip_adapter;
pub mod tuned;
pub mod tuning;
pub mod views;
