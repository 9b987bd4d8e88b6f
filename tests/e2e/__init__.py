"""Real processes, driven by the ``ursa`` command as a person would."""
