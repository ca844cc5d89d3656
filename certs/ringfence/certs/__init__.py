"""What an identity is: SPIFFE IDs, selectors, SVID profiles, authorities, bundles and the keys behind them."""
