//! The shape of KV tensors, in the syntax of `--kvcache-shape-spec`: groups `(kv_size,NB,BS,NH,HS):dtype:layers`, separated by
//! `;`.

use std::fmt;

use super::rpc::Dtype;
use crate::python::number::int;

/// Most layers that a spec may have, far more than any model has.
const LAYERS_MAX: u64 = 4096;

/// In the order of LMCache's error message.
const DTYPES: [Dtype; 5] = [
    Dtype::Float16,
    Dtype::Float32,
    Dtype::Bfloat16,
    Dtype::Uint8,
    Dtype::Int8,
];

/// Consecutive layers of the same shape. Each layer is a tensor `[kv_size, blocks, block_tokens, heads, head_elements]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerGroup {
    /// 2: keys and values. 1: MLA.
    pub kv_size: usize,
    pub blocks: usize,
    pub block_tokens: usize,
    pub heads: usize,
    pub head_elements: usize,
    pub dtype: Dtype,
    pub layers: usize,
}

/// All layers. There is at least one group, and all groups have the same `blocks` and `block_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub groups: Vec<LayerGroup>,
}

impl LayerGroup {
    /// Elements per token in one plane of one layer.
    pub fn hidden(&self) -> usize {
        self.heads * self.head_elements
    }

    /// Bytes per block in one plane of one layer, which are contiguous.
    pub fn block_bytes(&self) -> usize {
        self.block_tokens * self.hidden() * element_bytes(self.dtype)
    }

    /// Bytes per layer.
    pub fn layer_bytes(&self) -> usize {
        self.kv_size * self.blocks * self.block_bytes()
    }
}

impl Shape {
    /// Parses a spec with the rules and messages of LMCache, then refuses shapes that LMCache accepts but no server can hold.
    pub fn parse(spec: &str) -> Result<Shape, String> {
        if spec.is_empty() {
            return Err("KV shape specification cannot be empty".into());
        }
        let groups = spec.split(';').map(str::trim).filter(|group| !group.is_empty());
        let groups = groups.map(parse_group).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = groups.first() else {
            return Err("No valid layer groups found in spec".into());
        };
        if let Some(other) = groups
            .iter()
            .find(|group| (group.blocks, group.block_tokens) != (first.blocks, first.block_tokens))
        {
            return Err(format!(
                "All groups must share NB and BS, but {first} has ({},{}) and {other} has ({},{})",
                first.blocks, first.block_tokens, other.blocks, other.block_tokens
            ));
        }
        let layers = groups
            .iter()
            .fold(0_u64, |layers, group| layers.saturating_add(group.layers as u64));
        if layers > LAYERS_MAX {
            return Err(format!(
                "{layers} layers are more than the {LAYERS_MAX} that are possible"
            ));
        }
        let shape = Shape { groups };
        shape
            .checked_bytes()
            .ok_or("the tensors would be larger than the address space")?;
        Ok(shape)
    }

    pub fn blocks(&self) -> usize {
        self.groups[0].blocks
    }

    pub fn block_tokens(&self) -> usize {
        self.groups[0].block_tokens
    }

    /// Whether every layer has one plane, as with MLA, where all ranks hold the same KV.
    pub fn is_mla(&self) -> bool {
        self.groups.iter().all(|group| group.kv_size == 1)
    }

    /// The group of each layer, in layer order.
    pub fn layers(&self) -> impl Iterator<Item = &LayerGroup> {
        self.groups
            .iter()
            .flat_map(|group| std::iter::repeat_n(group, group.layers))
    }

    /// Bytes of all tensors of one rank.
    pub fn bytes(&self) -> usize {
        self.checked_bytes().expect("checked when parsed")
    }

    fn checked_bytes(&self) -> Option<usize> {
        self.groups.iter().try_fold(0usize, |total, group| {
            [
                group.kv_size,
                group.blocks,
                group.block_tokens,
                group.heads,
                group.head_elements,
            ]
            .iter()
            .try_fold(element_bytes(group.dtype), |bytes, factor| bytes.checked_mul(*factor))?
            .checked_mul(group.layers)?
            .checked_add(total)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
        })
    }

    /// Bytes per chunk in all layers and planes of one rank.
    pub fn chunk_bytes(&self, chunk_tokens: usize) -> usize {
        let blocks = chunk_tokens / self.block_tokens();
        self.layers()
            .map(|group| group.kv_size * blocks * group.block_bytes())
            .sum()
    }
}

fn element_bytes(dtype: Dtype) -> usize {
    usize::try_from(dtype.bytes()).expect("at most four")
}

/// Checks in the order of LMCache: format, dtype, numbers, their count.
fn parse_group(spec: &str) -> Result<LayerGroup, String> {
    let malformed = || format!("Invalid group spec format: {spec}");
    let inner = spec
        .strip_prefix('(')
        .filter(|_| spec.contains("):"))
        .ok_or_else(malformed)?;
    let (numbers, rest) = inner.split_once(')').ok_or_else(malformed)?;
    let rest = rest.strip_prefix(':').ok_or_else(malformed)?;
    let (dtype, layers) = rest
        .split_once(':')
        .filter(|(_, layers)| !layers.contains(':'))
        .ok_or_else(malformed)?;
    let dtype = dtype.trim();
    let known = |name: &Dtype| name.name() == dtype.to_lowercase();
    let Some(dtype) = DTYPES.into_iter().find(known) else {
        let names: Vec<String> = DTYPES.iter().map(|known| format!("'{}'", known.name())).collect();
        return Err(format!(
            "Unrecognized dtype '{dtype}' in group spec: {spec}. Supported: [{}]",
            names.join(", ")
        ));
    };
    let numbers: Result<Vec<i64>, String> = numbers.split(',').map(int).collect();
    let (Ok(numbers), Ok(layers)) = (numbers, int(layers)) else {
        return Err(format!("Invalid number in group spec: {spec}"));
    };
    let [kv_size, blocks, block_tokens, heads, head_elements] = numbers[..] else {
        return Err(format!("Shape must be a 5-tuple (kv_size,nb,bs,nh,hs): {spec}"));
    };
    let positive = |name: &str, value: i64| {
        usize::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| format!("{name} is {value} but must be positive in group spec: {spec}"))
    };
    if !(1..=2).contains(&kv_size) {
        return Err(format!(
            "kv_size is {kv_size} but must be 2 (keys and values) or 1 (MLA) in group spec: {spec}"
        ));
    }
    Ok(LayerGroup {
        kv_size: positive("kv_size", kv_size)?,
        blocks: positive("NB", blocks)?,
        block_tokens: positive("BS", block_tokens)?,
        heads: positive("NH", heads)?,
        head_elements: positive("HS", head_elements)?,
        dtype,
        layers: positive("the number of layers", layers)?,
    })
}

impl fmt::Display for LayerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "({},{},{},{},{}):{}:{}",
            self.kv_size,
            self.blocks,
            self.block_tokens,
            self.heads,
            self.head_elements,
            self.dtype.name(),
            self.layers
        )
    }
}

impl fmt::Display for Shape {
    /// The format of LMCache's output, which can be parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups.iter().enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(f, "{separator}{group}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: &str) -> String {
        Shape::parse(spec).expect_err(spec)
    }

    #[test]
    fn specs_are_parsed_and_displayed() {
        let shape = Shape::parse(" ( +2 , 1_024, 16,8,128):FLOAT16 : 4 ;; (1,1024,16,1,128):int8:28;").unwrap();
        assert_eq!(
            shape.to_string(),
            "(2,1024,16,8,128):float16:4;(1,1024,16,1,128):int8:28"
        );
        assert_eq!(Shape::parse(&shape.to_string()).unwrap(), shape);
        assert_eq!(
            (shape.blocks(), shape.block_tokens(), shape.is_mla()),
            (1024, 16, false)
        );
        assert_eq!(shape.layers().count(), 32);
        assert_eq!(shape.groups[0].block_bytes(), 16 * 8 * 128 * 2);
        assert_eq!(shape.bytes(), 4 * 2 * 1024 * 32768 + 28 * 1024 * 2048);
        assert_eq!(shape.chunk_bytes(256), 16 * (4 * 2 * 32768 + 28 * 2048));
        assert!(Shape::parse("(1,8,4,1,4):uint8:1").unwrap().is_mla());
    }

    #[test]
    fn malformed_specs_are_refused_with_the_messages_of_lmcache() {
        assert_eq!(refused(""), "KV shape specification cannot be empty");
        assert_eq!(refused(" ; ;"), "No valid layer groups found in spec");
        for spec in [
            "2,16,4,1,4:float16:2",
            "(2,16,4,1,4)float16:2",
            "(2,16,4,1,4):float16",
            "(2,16,4,1,4):float16:2:3",
        ] {
            assert_eq!(refused(spec), format!("Invalid group spec format: {spec}"));
        }
        assert_eq!(
            refused("(2,16,4,1,4): half :x"),
            "Unrecognized dtype 'half' in group spec: (2,16,4,1,4): half :x. \
             Supported: ['float16', 'float32', 'bfloat16', 'uint8', 'int8']"
        );
        for spec in [
            "(2,x,4,1,4):float16:2",
            "(2,16,4,1,4,):float16:2",
            "(2,16,4,1,4):float16:2.0",
            "((2,16,4,1,4):uint8:1",
        ] {
            assert_eq!(refused(spec), format!("Invalid number in group spec: {spec}"));
        }
        assert_eq!(
            refused("(2,16,4,4):uint8:1"),
            "Shape must be a 5-tuple (kv_size,nb,bs,nh,hs): (2,16,4,4):uint8:1"
        );
    }

    #[test]
    fn shapes_that_no_server_can_hold_are_refused() {
        assert!(refused("(3,16,4,1,4):uint8:1").starts_with("kv_size is 3 but must be 2"));
        assert!(refused("(2,0,4,1,4):uint8:1").starts_with("NB is 0 but must be positive"));
        assert!(refused("(2,16,-4,1,4):uint8:1").starts_with("BS is -4"));
        assert!(refused("(2,16,4,0,4):uint8:1").starts_with("NH is 0"));
        assert!(refused("(2,16,4,1,0):uint8:1").starts_with("HS is 0"));
        assert!(refused("(2,16,4,1,4):uint8:0").starts_with("the number of layers is 0"));
        assert!(refused("(2,16,4,1,4):uint8:9999").contains("9999 layers are more than"));
        assert!(refused("(2,9999999999,4,99999,99999):uint8:1").contains("address space"));
        // Their sum is 1 in 64 bits.
        let wrapping = include_str!("../../tests/golden/server/hostile/shape-layers-overflow.txt");
        assert!(refused(wrapping).contains("layers are more than"));
        assert_eq!(
            refused("(2,16,4,1,4):uint8:1;(1,16,8,1,4):uint8:1"),
            "All groups must share NB and BS, but (2,16,4,1,4):uint8:1 has (16,4) and (1,16,8,1,4):uint8:1 has (16,8)"
        );
    }
}
