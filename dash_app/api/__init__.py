"""The REST interface: routes, answers, problems, exports and operations endpoints."""
