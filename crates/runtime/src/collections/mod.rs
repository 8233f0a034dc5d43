//! Data structures that could serve another program; generic over what they hold.
