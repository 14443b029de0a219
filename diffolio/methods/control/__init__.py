"""Control of generation: layouts, light, rules and other conditions."""
