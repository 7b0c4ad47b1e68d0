"""The rollout service: decides a candidate model's share of the traffic from the evidence of both arms."""
