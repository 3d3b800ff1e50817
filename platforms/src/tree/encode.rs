//! Property values as a flattened tree has them: big-endian cells, texts with a final zero.

/// What can be the value of a property.
pub trait Encode {
    /// Returns the value's bytes.
    fn encode(&self) -> Vec<u8>;
}

impl Encode for u32 {
    fn encode(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl Encode for u64 {
    fn encode(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl Encode for &str {
    fn encode(&self) -> Vec<u8> {
        [self.as_bytes(), &[0]].concat()
    }
}

impl Encode for String {
    fn encode(&self) -> Vec<u8> {
        self.as_str().encode()
    }
}

impl Encode for &[&str] {
    fn encode(&self) -> Vec<u8> {
        self.iter().flat_map(Encode::encode).collect()
    }
}

impl Encode for Vec<u32> {
    fn encode(&self) -> Vec<u8> {
        self.iter().flat_map(Encode::encode).collect()
    }
}

impl Encode for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }
}
