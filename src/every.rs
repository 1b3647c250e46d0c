//! Lists of the variants of an enum, which the compiler holds to be complete.

/// The variants of an enum as an array. It does not compile once one is missing; those that do not belong there are
/// named after `but`.
macro_rules! every {
    ($kind:ident: $($variant:ident),+ $(,)? $(; but $other:pat)?) => {{
        const _: fn(&$kind) = |one| match one {
            $($kind::$variant)|+ => {}
            $($other => {})?
        };
        [$($kind::$variant),+]
    }};
}

pub(crate) use every;
