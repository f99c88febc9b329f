"""What the management plane and the data plane must agree on, written once.

Studio builds, signs and pushes with these modules; a gateway checks and acknowledges with the very same ones. Nothing
here imports Django, kailash or Nexus, opens a file or touches the network, so that both planes can afford the import.
"""
