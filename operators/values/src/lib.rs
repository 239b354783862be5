//! What a chart is rendered with: values, answers to its questions, and its schema. Pure: no client, no clock.
