//! The names of OpenAI's checkpoints, which open_clip kept, for the tensors that Hugging Face names
//! otherwise.
//!
//! Queries, keys and values are one matrix there, and the projections are stored `[inputs, outputs]`. Models
//! with `custom_text` have `text.` before the names of the text tower.

/// Where a tensor of Hugging Face's layout is found in OpenAI's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name there.
    pub name: String,
    /// What of that tensor it is.
    pub part: Part,
}

/// What of a stored tensor is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// A third of its rows: 0 for queries, 1 for keys, 2 for values.
    Third(usize),
    /// All of it, with rows and columns exchanged.
    Transposed,
}

impl Part {
    /// The part's shape, of a tensor of shape `stored`.
    pub fn shape(self, stored: &[usize]) -> Vec<usize> {
        let mut shape = stored.to_vec();
        match self {
            Self::Whole => {}
            Self::Third(_) => shape[..1].iter_mut().for_each(|rows| *rows /= 3),
            Self::Transposed => shape.reverse(),
        }
        shape
    }

    /// The part's values, of a tensor of shape `stored`.
    pub fn of(self, values: Vec<f32>, stored: &[usize]) -> Vec<f32> {
        match self {
            Self::Whole => values,
            Self::Third(third) => {
                let size = values.len() / 3;
                values[third * size..][..size].to_vec()
            }
            Self::Transposed => {
                let (rows, columns) = (stored[0], stored[1..].iter().product());
                let column = |column: usize| (0..rows).map(move |row| row * columns + column);
                (0..columns).flat_map(column).map(|place| values[place]).collect()
            }
        }
    }
}

/// The place of Hugging Face's tensor `name`; names of the text tower begin with `text` there.
pub fn stored(name: &str, text: &str) -> Option<Stored> {
    let (name, part) = if let Some(rest) = name.strip_prefix("text_model.encoder.layers.") {
        block(&format!("{text}transformer"), rest)?
    } else if let Some(rest) = name.strip_prefix("vision_model.encoder.layers.") {
        block("visual.transformer", rest)?
    } else if let Some(rest) = name.strip_prefix("text_model.final_layer_norm.") {
        (format!("{text}ln_final.{rest}"), Part::Whole)
    } else if let Some(rest) = name.strip_prefix("vision_model.pre_layrnorm.") {
        (format!("visual.ln_pre.{rest}"), Part::Whole)
    } else if let Some(rest) = name.strip_prefix("vision_model.post_layernorm.") {
        (format!("visual.ln_post.{rest}"), Part::Whole)
    } else {
        match name {
            "logit_scale" => (name.to_owned(), Part::Whole),
            "text_model.embeddings.token_embedding.weight" => {
                (format!("{text}token_embedding.weight"), Part::Whole)
            }
            "text_model.embeddings.position_embedding.weight" => {
                (format!("{text}positional_embedding"), Part::Whole)
            }
            "text_projection.weight" => (format!("{text}text_projection"), Part::Transposed),
            "vision_model.embeddings.class_embedding" => ("visual.class_embedding".into(), Part::Whole),
            "vision_model.embeddings.patch_embedding.weight" => ("visual.conv1.weight".into(), Part::Whole),
            "vision_model.embeddings.position_embedding.weight" => {
                ("visual.positional_embedding".into(), Part::Whole)
            }
            "visual_projection.weight" => ("visual.proj".into(), Part::Transposed),
            _ => return None,
        }
    };
    Some(Stored { name, part })
}

/// A tensor of a block: `rest` is `LAYER.PLACE.weight` or `.bias`.
fn block(tower: &str, rest: &str) -> Option<(String, Part)> {
    let (layer, rest) = rest.split_once('.')?;
    let (place, kind) = rest.rsplit_once('.')?;
    let (place, part) = match place {
        "self_attn.q_proj" => (format!("attn.in_proj_{kind}"), Part::Third(0)),
        "self_attn.k_proj" => (format!("attn.in_proj_{kind}"), Part::Third(1)),
        "self_attn.v_proj" => (format!("attn.in_proj_{kind}"), Part::Third(2)),
        "self_attn.out_proj" => (format!("attn.out_proj.{kind}"), Part::Whole),
        "mlp.fc1" => (format!("mlp.c_fc.{kind}"), Part::Whole),
        "mlp.fc2" => (format!("mlp.c_proj.{kind}"), Part::Whole),
        "layer_norm1" => (format!("ln_1.{kind}"), Part::Whole),
        "layer_norm2" => (format!("ln_2.{kind}"), Part::Whole),
        _ => return None,
    };
    Some((format!("{tower}.resblocks.{layer}.{place}"), part))
}
