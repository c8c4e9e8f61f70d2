//! MD5 (RFC 1321), for `md5OfBody` alone.

use std::sync::LazyLock;

/// [`sine`] of each step.
static SINES: LazyLock<[u32; 64]> = LazyLock::new(|| std::array::from_fn(sine));

/// The rotations of the four rounds.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The digest of `bytes`, in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut message = bytes.to_vec();
    message.push(0x80);
    message.resize(message.len().next_multiple_of(64), 0);
    if bytes.len() % 64 >= 56 {
        message.resize(message.len() + 64, 0);
    }
    let end = message.len() - 8;
    message.truncate(end);
    message.extend_from_slice(&(bytes.len() as u64 * 8).to_le_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in message.as_chunks::<64>().0 {
        mix(&mut state, block);
    }
    state
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn mix(state: &mut [u32; 4], block: &[u8; 64]) {
    let words: Vec<u32> =
        block.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let [mut a, mut b, mut c, mut d] = *state;
    let sines = &*SINES;
    for step in 0..64_usize {
        let (bits, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sum = a.wrapping_add(bits).wrapping_add(sines[step]).wrapping_add(words[word % 16]);
        let turned = sum.rotate_left(SHIFTS[step / 16][step % 4]);
        (a, d, c, b) = (d, c, b, b.wrapping_add(turned));
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(mixed);
    }
}

/// The table of RFC 1321: the first 32 bits of |sin(step + 1)|.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a step is below 64, and the product is at least 0 and below 2^32"
)]
fn sine(step: usize) -> u32 {
    (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_known_digests_around_a_blocks_end() {
        let a = |count| "a".repeat(count);
        let rows = [
            (String::new(), "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc".to_owned(), "900150983cd24fb0d6963f7d28e17f72"),
            (a(55), "ef1772b6dff9a122358552954ad0df65"),
            (a(56), "3b0c8ac703f828b04c6c197006d17218"),
            (a(63), "b06521f39153d618550606be297466d5"),
            (a(64), "014842d480b571495a4a0363793f7367"),
        ];
        for (text, digest) in rows {
            assert_eq!(super::hex(text.as_bytes()), digest, "{text}");
        }
    }
}
