"""From a transcript and a label to an explanation: asked of a teacher, checked, and shown to a reviewer."""
