//! What has to read or write exactly as CPython does, because LMCache and the engines are written in Python.
//!
//! | Python | here |
//! |---|---|
//! | `int(text)`, `float(text)` | [`number`] |
//! | an `int` of any size | [`big_int`] |
//! | `round(x, n)`, `repr(x)` and `f"{x:.2f}"` of a float | [`float_text`] |
//! | `repr(text)` | [`quote`] |
//! | `type`, `repr`, `bool`, `int`, `float` of a value read from JSON | [`value`] |
//! | `json.loads`, `json.dumps`, `json.JSONDecodeError` | [`json`] |
//! | `random.Random` | [`random`] |
//! | `strip`, `split`, `isspace`, `isdigit` of a text | [`text`] |

pub mod big_int;
pub mod float_text;
pub mod json;
pub mod number;
pub mod quote;
pub mod random;
pub mod text;
pub mod value;
