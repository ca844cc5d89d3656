"""What may talk: intent documents, the model they mean, its evaluation and what is compiled from it."""
