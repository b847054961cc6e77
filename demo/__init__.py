"""A web page where one speaks and sees the emotion, the explanation and the words that show it."""
