"""From a model to text: engines, filters, sampling."""
