//! The name server of Holm's networks: answers for containers from memory, asks the host's resolvers for the rest.
