//! Where charts come from: repositories and packaged charts, within bounds.
