"""What runs where: releases, deployments and their rollouts, rollback, and the playground."""
