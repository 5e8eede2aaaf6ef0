//! Memory for the bytes of objects: pieces and shards of megabytes that come and go for as long as a process runs.
//!
//! Allocators keep what they were given back of such sizes, in pools of each thread: a process that holds ten shards at once
//! may then occupy the memory of thirty. So what is large is mapped and unmapped by itself; a buffer that is dropped is gone.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;
use memmap2::{Advice, MmapMut};

/// Buffers of so many bytes and more are mapped by themselves.
const MAPPED_FROM_BYTES: usize = 256 * 1024;

/// Buffers of so many bytes and more may hold whole huge pages, if the system has them: writing to one for the first time
/// takes one fault instead of 512.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of one allocation, filled from its start.
pub struct Buffer {
    memory: Memory,
    filled: usize,
}

enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Buffer {
    /// Room for exactly so many bytes. Pages that nothing is written to cost nothing.
    pub fn with_capacity(bytes: usize) -> Self {
        // A machine that limits mappings may still have memory.
        let mapped = (bytes >= MAPPED_FROM_BYTES).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        let memory = mapped.map_or_else(|| Memory::Heap(vec![0; bytes]), Memory::Mapped);
        if let Memory::Mapped(mapped) = &memory
            && bytes >= HUGE_PAGE_BYTES
        {
            // Only how fast it is depends on it.
            let _ = mapped.advise(Advice::HugePage);
        }
        Self { memory, filled: 0 }
    }

    /// Bytes that were written.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes that there is still room for.
    pub fn room(&self) -> usize {
        self.memory.as_slice().len() - self.filled
    }

    /// Forgets all but the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.filled = self.filled.min(length);
    }

    /// Takes as many of the bytes as there is room for, and returns the others.
    pub fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(self.room()));
        self.unfilled()[..taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }

    /// Reads until it is full or the reader ends.
    pub(super) fn fill_from(&mut self, reader: &mut impl Read) -> io::Result<()> {
        while self.room() > 0 {
            match reader.read(self.unfilled()) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was written. The memory is given back when the last of its readers is gone.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn unfilled(&mut self) -> &mut [u8] {
        let filled = self.filled;
        match &mut self.memory {
            Memory::Heap(bytes) => &mut bytes[filled..],
            Memory::Mapped(bytes) => &mut bytes[filled..],
        }
    }
}

impl Memory {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory.as_slice()[..self.filled]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_what_was_written_whatever_its_size() {
        for size in [0, 1, 1000, MAPPED_FROM_BYTES - 1, MAPPED_FROM_BYTES, 3 * MAPPED_FROM_BYTES + 5] {
            let bytes: Vec<u8> = (0..size + 7).map(|at| (at % 251) as u8).collect();
            let mut buffer = Buffer::with_capacity(size);
            assert!(buffer.is_empty());
            assert_eq!(buffer.fill(&bytes[..size / 2]), b"", "{size}");
            assert_eq!(buffer.fill(&bytes[size / 2..]), &bytes[size..], "{size}");
            assert_eq!((buffer.len(), buffer.room()), (size, 0), "{size}");
            buffer.truncate(size / 3);
            buffer.fill_from(&mut &bytes[size / 3..]).unwrap();
            assert_eq!(buffer.freeze(), bytes[..size], "{size}");
        }
    }

    #[test]
    fn a_reader_that_ends_early_leaves_room() {
        let mut buffer = Buffer::with_capacity(MAPPED_FROM_BYTES);
        buffer.fill_from(&mut &b"abc"[..]).unwrap();
        assert_eq!((buffer.as_ref(), buffer.room()), (&b"abc"[..], MAPPED_FROM_BYTES - 3));
    }
}
