//! Where each method's prompt starts.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use gram_clip::{ClipError, Model};
use gram_meta::{MetaState, Regulator};
use gram_prompt::meta_net::MetaNet;
use gram_prompt::{Part, Placement, Prompt, PromptKind, Template};

use crate::design::PromptDesign;
use crate::method_table::Method;

/// Where a method's prompt starts, where it enters, and how its gradient is bent.
#[derive(Clone, Debug)]
pub struct Start {
    /// The first prompt; empty for zero-shot.
    pub theta: Prompt,
    /// Where its vectors enter.
    pub placement: Placement,
    /// The regulator, for methods with GRAM.
    pub phi: Option<Regulator>,
}

/// The meta-trained starts that are there, with where their vectors enter, by what they are for.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    meta_trained: BTreeMap<&'static str, (MetaState, Placement)>,
}

impl Starts {
    /// Adds the meta-trained start of a method with GRAM, whose vectors enter where `placement` says.
    pub fn insert(&mut self, method: Method, state: MetaState, placement: Placement) {
        self.meta_trained.insert(method.key(), (state, placement));
    }

    /// The meta-trained start of a method, if it is there.
    fn meta_trained(&self, method: Method) -> Option<&(MetaState, Placement)> {
        let own = self.meta_trained.get(method.key());
        own.or_else(|| self.meta_trained.get(method.initialised_as().key()))
    }

    /// What tells a method's meta-trained start from another; none where it has none.
    pub fn fingerprint(&self, method: Method) -> Option<String> {
        method.baseline()?;
        let (state, placement) = self.meta_trained(method)?;
        Some(format!("{}, visual depth {}", state.fingerprint(), placement.visual_depth))
    }

    /// Whether the method can be run.
    pub fn has(&self, method: Method) -> bool {
        method.baseline().is_none() || self.meta_trained(method).is_some()
    }

    /// The start of `method` for so many classes; `None` if it needs a meta-trained one that is not here, or
    /// tunes no prompt.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the template's words cannot be read.
    pub fn of(
        &self,
        method: Method,
        design: PromptDesign,
        classes: usize,
        model: &Model,
        template: &Template,
        seed: u64,
    ) -> Result<Option<Start>, ClipError> {
        let Some(kind) = method.kind() else { return Ok(None) };
        let device = &model.device();
        let design = if method.is_deep() { design.deep() } else { design };
        let placement = design.placement(kind, model, classes);
        if method.baseline().is_none() {
            let theta = design.start(kind, placement, model, template, seed, device)?;
            return Ok(Some(Start { theta, placement, phi: None }));
        }
        let Some((state, trained)) = self.meta_trained(method) else { return Ok(None) };
        let placement = Placement { visual_depth: trained.visual_depth, ..placement };
        let mut theta = state.theta.map(|part, tensor| match part {
            Part::Text => Tensor::cat(vec![tensor; placement.contexts], 0),
            _ => tensor,
        });
        if kind == PromptKind::Conditional && theta.get(Part::HiddenWeight).is_none() {
            let (joint, text) = (Part::HiddenWeight.width(&model.clip), Part::Text.width(&model.clip));
            theta = theta.with(MetaNet::start(joint, text, seed, device));
        }
        Ok(Some(Start { theta, placement, phi: state.phi.clone() }))
    }
}
