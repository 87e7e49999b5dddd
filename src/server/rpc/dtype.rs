//! Element types of KV tensors, by their names in PyTorch.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    Float16,
    Bfloat16,
    Float32,
    Uint8,
    Int8,
}

impl Dtype {
    pub const ALL: [Dtype; 5] = [
        Dtype::Float16,
        Dtype::Bfloat16,
        Dtype::Float32,
        Dtype::Uint8,
        Dtype::Int8,
    ];

    /// The name in PyTorch, without `torch.`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Float16 => "float16",
            Dtype::Bfloat16 => "bfloat16",
            Dtype::Float32 => "float32",
            Dtype::Uint8 => "uint8",
            Dtype::Int8 => "int8",
        }
    }

    pub fn of_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::Float16 | Dtype::Bfloat16 => 2,
            Dtype::Float32 => 4,
            Dtype::Uint8 | Dtype::Int8 => 1,
        }
    }
}
