//! Enums for flags whose value is one of a few words, with the conversions to and from text.

/// Declares an enum with the text of each variant, `CHOICES` for the flag's row, `text()` and `from_text()`.
///
/// `what` names the kind of value in the error message about an unknown one.
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
