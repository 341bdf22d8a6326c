"""Exchange labels with other tools: write predictions for them, and read what people labelled with them."""
