"""Pure decisions: identity, records, watermark, states. Nothing here touches the world."""
