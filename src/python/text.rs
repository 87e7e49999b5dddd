//! Blanks and digits as Python's `str` methods know them: Unicode's, with four control characters more than Rust's blanks.

/// The zeros of Unicode's decimal digits; the nine characters after each are the digits 1 to 9 (Unicode 14, as in Python 3.11).
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0,
    0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60,
    0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
/// Characters that `isdigit` takes for digits and `int` does not: superscripts, circled ones and the like.
const OTHER_DIGITS: [(u32, u32); 20] = [
    (0xb2, 0xb3),
    (0xb9, 0xb9),
    (0x1369, 0x1371),
    (0x19da, 0x19da),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247c),
    (0x2488, 0x2490),
    (0x24ea, 0x24ea),
    (0x24f5, 0x24fd),
    (0x24ff, 0x24ff),
    (0x2776, 0x277e),
    (0x2780, 0x2788),
    (0x278a, 0x2792),
    (0x10a40, 0x10a43),
    (0x10e60, 0x10e68),
    (0x11052, 0x1105a),
    (0x1f100, 0x1f10a),
];

/// `character.isspace()`, which is also what `\s` matches.
pub fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// `text.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// `text.split()`.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// The value of a decimal digit of any script, which `int` reads.
pub fn decimal(character: char) -> Option<char> {
    let code = u32::from(character);
    let zero = ZEROS.iter().rev().find(|zero| **zero <= code)?;
    char::from_digit(code - zero, 10)
}

/// `character.isdigit()`.
pub fn is_digit(character: char) -> bool {
    let code = u32::from(character);
    decimal(character).is_some()
        || OTHER_DIGITS
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every row was tried with CPython 3.11.
    #[test]
    fn blanks_are_pythons() {
        assert_eq!(strip("\x1c\u{85}\u{3000} a\x1fb \u{2028}\n"), "a\x1fb");
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
        let split: Vec<&str> = words(" a\x1eb\u{a0}c\u{180e}d\n").collect();
        assert_eq!(split, ["a", "b", "c\u{180e}d"]);
        assert_eq!(words(" \n").next(), None);
    }

    #[test]
    fn digits_are_pythons() {
        for (character, value, digit) in [
            ('0', Some('0'), true),
            ('9', Some('9'), true),
            (':', None, false),
            ('\u{663}', Some('3'), true),
            ('\u{66a}', None, false),
            ('\u{1d7d8}', Some('0'), true),
            ('\u{1d7ff}', Some('9'), true),
            ('\u{b2}', None, true),
            ('\u{2460}', None, true),
            ('\u{bd}', None, false),
            ('a', None, false),
        ] {
            assert_eq!((decimal(character), is_digit(character)), (value, digit), "{character}");
        }
        let all = ['\0'..='\u{10ffff}'].into_iter().flatten();
        assert_eq!(
            all.clone().filter(|character| decimal(*character).is_some()).count(),
            660
        );
        assert_eq!(all.filter(|character| is_digit(*character)).count(), 660 + 128);
    }
}
