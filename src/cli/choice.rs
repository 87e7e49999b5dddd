//! Flags whose value is one of a few words: the enum, its words and both directions between them, declared once.

/// Declares an enum with the text of each variant, `CHOICES` for the flag's row, `text()` and `from_text()`.
///
/// `what` names the idea in the sentence about a value that is none of them.
#[macro_export]
macro_rules! choices {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident ($what:literal) {
            $($(#[$of_variant:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            pub const CHOICES: &'static [&'static str] = &[$($text),+];

            pub fn text(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            pub fn from_text(text: &str) -> Result<$name, String> {
                match text {
                    $($text => Ok($name::$variant),)+
                    other => Err(format!("unknown {} {}", $what, $crate::python::quote::quoted(other))),
                }
            }
        }
    };
}
