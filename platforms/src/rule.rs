//! The rules that a partition table obeys, one variant each.

use crate::diagnostic::Severity;

/// Declares [`Rule`], its names and its severities from one list.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $severity:ident $name:literal,)+) => {
        /// A rule of partition tables. Each has one bad table, `tests/tables/NAME.toml`, and the message that this
        /// table gets, `tests/tables/NAME.txt`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// All rules, in the order in which they are checked.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the rule's name as messages show it, in lower case with hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Says whether a violation stops the build or is a remark.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

rules! {
    /// The table's file can be read and is UTF-8.
    UnreadableTable = Error "unreadable-table",
    /// The table is TOML.
    Syntax = Error "syntax",
}
