"""Other trust domains: where their bundles come from, and what of them is believed."""
