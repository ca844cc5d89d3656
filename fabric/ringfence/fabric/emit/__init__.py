"""What others are told of a fabric, in their own formats: those who enforce it, and those who bring pods onto it."""
