//! The units of work of one operator.

use crate::{cache::ObjectKey, place::Place, queue::Laned};

/// What a queue key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// One object as a whole: its finalizer, its places, its status.
    Object(ObjectKey),
    /// One object at one place.
    AtPlace(ObjectKey, Place),
    /// A place as a whole: the owners that left something behind there.
    Place(Place),
}

/// What bounds how many tasks run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Work on whole objects.
    Objects,
    /// Work at one place.
    At(Place),
}

impl Laned for Task {
    type Lane = Lane;

    fn lane(&self) -> Lane {
        match self {
            Self::Object(_) => Lane::Objects,
            Self::AtPlace(_, place) | Self::Place(place) => Lane::At(place.clone()),
        }
    }
}
