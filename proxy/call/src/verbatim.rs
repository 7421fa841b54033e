use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::Tool;

/// What all calls of a form bring word for word: one that was read once is shared by them,
/// and a clone is another handle on it.
pub struct Verbatim<T: ?Sized>(Option<Arc<T>>);

/// The tools on offer.
pub type Tools = Verbatim<[Tool]>;

/// A JSON Schema; `null` where none was given.
pub type Schema = Verbatim<Value>;

/// What stands for nothing, without an allocation.
pub trait Blank: 'static {
    /// Nothing.
    fn blank() -> &'static Self;
}

impl<T: 'static> Blank for [T] {
    fn blank() -> &'static Self {
        &[]
    }
}

impl Blank for Value {
    fn blank() -> &'static Self {
        static NULL: Value = Value::Null;
        &NULL
    }
}

impl<T: ?Sized> Verbatim<T> {
    /// Whether both are the very same: what was made of the one holds for the other.
    /// Two that are equal and were read apart are not.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether anybody else holds it, so that it may come again.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|it| Arc::strong_count(it) > 1)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: 'static> Verbatim<[T]> {
    /// The list.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self
    }
}

impl<T: ?Sized> Clone for Verbatim<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Default for Verbatim<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: ?Sized + Blank> Deref for Verbatim<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::blank())
    }
}

impl<T: ?Sized + Blank + fmt::Debug> fmt::Debug for Verbatim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'a, T: 'static> IntoIterator for &'a Verbatim<[T]> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> From<Vec<T>> for Verbatim<[T]> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| list.into()))
    }
}

impl<T> FromIterator<T> for Verbatim<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        list.into_iter().collect::<Vec<_>>().into()
    }
}

impl From<Value> for Verbatim<Value> {
    fn from(value: Value) -> Self {
        Self((!value.is_null()).then(|| value.into()))
    }
}

impl<T: ?Sized + Blank + PartialEq> PartialEq for Verbatim<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl<T: ?Sized + Blank + Serialize> Serialize for Verbatim<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(s)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Verbatim<[T]> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::deserialize(d).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Verbatim<Value> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Value::deserialize(d).map(Self::from)
    }
}
