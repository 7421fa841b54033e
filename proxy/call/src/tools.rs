use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Tool;

/// The tools on offer. All calls of a form bring the same ones word for word, so a list
/// that was read once is shared by them: a clone is another handle on it.
#[derive(Debug, Clone, Default)]
pub struct Tools(Option<Arc<[Tool]>>);

impl Tools {
    /// Whether both are the very same list: what was made of the one holds for the other.
    /// Lists that are equal and were read apart are not.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether anybody else holds this list, so that it may come again.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|list| Arc::strong_count(list) > 1)
    }

    /// The list.
    #[must_use]
    pub fn as_slice(&self) -> &[Tool] {
        self
    }
}

impl<'a> IntoIterator for &'a Tools {
    type Item = &'a Tool;
    type IntoIter = std::slice::Iter<'a, Tool>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Deref for Tools {
    type Target = [Tool];

    fn deref(&self) -> &[Tool] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Vec<Tool>> for Tools {
    fn from(list: Vec<Tool>) -> Self {
        Self((!list.is_empty()).then(|| list.into()))
    }
}

impl FromIterator<Tool> for Tools {
    fn from_iter<I: IntoIterator<Item = Tool>>(list: I) -> Self {
        list.into_iter().collect::<Vec<_>>().into()
    }
}

impl PartialEq for Tools {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl Serialize for Tools {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::deserialize(d).map(Self::from)
    }
}
