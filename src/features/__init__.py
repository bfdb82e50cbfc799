"""Features: reusable, pure functions over customer and product data; later their views and stores."""
