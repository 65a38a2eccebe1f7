"""The Kopf operator of ReconstructionJobs: observe -> decide -> apply, level-triggered; all state is the cluster's."""
