"""Media -> frames -> boxes -> crops: the only place that decodes pictures and films."""
