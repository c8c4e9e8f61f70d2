//! Lambda and its SQS event source mapping.
