"""Language models that are asked: local ones in batches, served ones with retries; a journal keeps every reply."""
