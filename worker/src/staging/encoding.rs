//! Text in Shift_JIS as UTF-8.

use encoding_rs::{Decoder, DecoderResult, SHIFT_JIS};

/// A byte that is UTF-8 nowhere: it stands for one that is no Shift_JIS, so that its record fails alone and not silently.
const NOT_UTF8: u8 = 0xff;

/// Converts a text that comes piece by piece. What Windows means by Shift_JIS is taken for it (code page 932).
pub(super) struct ShiftJis {
    decoder: Decoder,
    text: Vec<u8>,
}

impl ShiftJis {
    pub(super) fn new() -> Self {
        Self { decoder: SHIFT_JIS.new_decoder_without_bom_handling(), text: Vec::new() }
    }

    /// The next bytes as UTF-8; `at_end`: nothing follows them.
    pub(super) fn convert(&mut self, mut bytes: &[u8], at_end: bool) -> &[u8] {
        self.text.clear();
        loop {
            let written = self.text.len();
            let room = self.decoder.max_utf8_buffer_length_without_replacement(bytes.len());
            self.text.resize(written + room.unwrap_or(4 * bytes.len() + 16), 0);
            let (result, read, count) =
                self.decoder.decode_to_utf8_without_replacement(bytes, &mut self.text[written..], at_end);
            self.text.truncate(written + count);
            bytes = &bytes[read..];
            match result {
                DecoderResult::Malformed(..) => self.text.push(NOT_UTF8),
                DecoderResult::InputEmpty => return &self.text,
                DecoderResult::OutputFull => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut decoder = ShiftJis::new();
        let mut text: Vec<u8> =
            bytes.chunks(size).flat_map(|piece| decoder.convert(piece, false).to_vec()).collect();
        text.extend_from_slice(decoder.convert(&[], true));
        text
    }

    #[test]
    fn windows_letters_become_utf8_whatever_the_sizes_of_the_pieces() {
        // The second byte of the last letter but one is a backslash, that of the first a digit of the row 13 of NEC.
        let bytes = b"\x87\x40,\x8e\x52\x93\x63\n\xb1\x83\x5c\x7e\n";
        for size in 1..=bytes.len() {
            assert_eq!(String::from_utf8(convert(bytes, size)).unwrap(), "①,山田\nｱソ~\n");
        }
    }

    #[test]
    fn what_is_no_shift_jis_is_no_utf8_either_and_the_rest_stays() {
        for size in 1..5 {
            assert_eq!(convert(b"a\xa0b\n\x81", size), b"a\xffb\n\xff", "{size}");
        }
    }
}
