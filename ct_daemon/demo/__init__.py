"""The demonstration: a made-up world that changes (`stream`), shown in the terminal as it happens (`view`)."""
