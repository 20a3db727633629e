//! table - `ops!` (the operation table) and `attrs!` (an operation's struct).

/// Expands the operation table into `Op`, `OpKind` and dispatch. Adding an operation is one line and one file.
macro_rules! ops {
    ($($variant:ident = $mnemonic:literal ($($operand:ident),* $(; $rest:ident)?) in $file:ident;)*) => {
        $(mod $file; pub use $file::$variant;)*

        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant is documented by its struct")]
        pub enum Op { $($variant($variant),)* }

        /// Which operation, without attributes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each variant is documented by its struct")]
        pub enum OpKind { $($variant,)* }

        impl OpKind {
            /// Every operation, in table order.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$variant,)*];
            /// Spelling in the text format.
            #[must_use]
            pub fn mnemonic(self) -> &'static str { match self { $(OpKind::$variant => $mnemonic,)* } }
        }

        impl Op {
            /// Which operation this is.
            #[must_use]
            pub fn kind(&self) -> OpKind { match self { $(Op::$variant(_) => OpKind::$variant,)* } }
            /// Target-independent behaviour.
            #[must_use]
            pub fn def(&self) -> &dyn OpDef { match self { $(Op::$variant(op) => op,)* } }
            /// Spelling in the text format.
            #[must_use]
            pub fn mnemonic(&self) -> &'static str { self.kind().mnemonic() }
            /// Names of the operands that are always there, in order.
            #[must_use]
            pub fn operand_names(&self) -> &'static [&'static str] {
                match self { $(Op::$variant(_) => &[$(stringify!($operand)),*],)* }
            }
            /// Whether more operands may follow the named ones.
            #[must_use]
            pub fn is_variadic(&self) -> bool { match self { $(Op::$variant(_) => false $(|| !stringify!($rest).is_empty())?,)* } }
            /// Attributes as `(name, text)`, in declaration order.
            #[must_use]
            pub fn attrs(&self) -> Vec<(&'static str, String)> {
                let mut out = Vec::new();
                match self { $(Op::$variant(op) => op.print_attrs(&mut out),)* }
                out
            }
            /// Replaces every extent among the attributes.
            pub fn map_extents(&mut self, f: &dyn Fn(&$crate::extent::Extent) -> $crate::extent::Extent) {
                match self { $(Op::$variant(op) => op.map_extents(f),)* }
            }
            /// The operation spelt `mnemonic` with attributes read from text.
            ///
            /// # Errors
            /// An unknown mnemonic; a missing, unreadable or superfluous attribute.
            pub fn parse(mnemonic: &str, attrs: &mut attr::Reader<'_>) -> Result<Op, String> {
                match mnemonic {
                    $($mnemonic => Ok(Op::$variant($variant::parse_attrs(attrs)?)),)*
                    _ => Err(format!("unknown operation `{mnemonic}`")),
                }
            }
        }

        $(
            impl From<$variant> for Op { fn from(op: $variant) -> Op { Op::$variant(op) } }
            impl OpStruct for $variant {
                fn from_op(op: &Op) -> Option<&Self> { if let Op::$variant(op) = op { Some(op) } else { None } }
            }
        )*
    };
}

/// Declares an operation's struct; its fields are the operation's attributes.
macro_rules! attrs {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        impl $name {
            #[allow(unused_variables, clippy::ptr_arg, reason = "operations without attributes")]
            pub(super) fn print_attrs(&self, out: &mut Vec<(&'static str, String)>) {
                $(out.push((stringify!($field), $crate::ops::attr::Attr::print(&self.$field)));)*
            }
            #[allow(unused_variables, reason = "operations without attributes")]
            pub(super) fn map_extents(&mut self, f: &dyn Fn(&$crate::extent::Extent) -> $crate::extent::Extent) {
                $($crate::ops::attr::Attr::map_extents(&mut self.$field, f);)*
            }
            #[allow(unused_variables, reason = "operations without attributes")]
            pub(super) fn parse_attrs(attrs: &mut $crate::ops::attr::Reader<'_>) -> Result<Self, String> {
                Ok(Self { $($field: attrs.take(stringify!($field))?),* })
            }
        }
    };
}

/// Gives a field-less enum its spelling as an attribute.
macro_rules! attr_enum {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl $crate::ops::attr::Attr for $name {
            fn print(&self) -> String {
                match self { $($name::$variant => $text.to_owned()),* }
            }
            fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}
