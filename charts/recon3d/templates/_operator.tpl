{{/* The operator's settings (operator/recon3d_operator/settings.py) as a map. */}}
{{- define "recon3d.operatorEnv" -}}
{{- $full := include "recon3d.fullname" . -}}
RECON3D_RUNNER_IMAGE: {{ include "recon3d.runnerImage" . | quote }}
{{- if .Values.image.reconviagen.repository }}
RECON3D_RECONVIAGEN_IMAGE: {{ include "recon3d.image" (dict "root" . "name" "reconviagen" "tag" (printf "%s-reconviagen" .Chart.AppVersion)) | quote }}
{{- end }}
RECON3D_IMAGE_PULL_POLICY: {{ .Values.image.pullPolicy }}
RECON3D_STORE: {{ include "recon3d.store" . | quote }}
RECON3D_NAMESPACES: {{ splitList "\n" (include "recon3d.namespaces" . | trim) | join "," | quote }}
RECON3D_DEVICE: {{ .Values.device }}
RECON3D_RUNNER_ACCOUNT: {{ $full }}-runner
RECON3D_CPU: {{ .Values.runner.cpu | quote }}
RECON3D_MEMORY: {{ .Values.runner.memory | quote }}
RECON3D_SHM: {{ .Values.runner.shm | quote }}
RECON3D_SCRATCH: {{ .Values.runner.scratch | quote }}
RECON3D_START_TIMEOUT_S: {{ .Values.jobs.startTimeoutSeconds | quote }}
RECON3D_LEASE_NAMESPACE: {{ .Release.Namespace }}
RECON3D_LEASE_NAME: {{ $full }}-operator
RECON3D_POD_DEFAULTS: {{ include "recon3d.podDefaults" . | quote }}
{{- if eq .Values.device "cpu" }}
RECON3D_MAX_RUNNING: {{ .Values.jobs.maxRunning | quote }}
{{- else }}
RECON3D_ACCELERATOR: {{ .Values.accelerator.resourceName }}
RECON3D_RASTERISER: {{ .Values.runner.rasteriser }}
{{- end }}
{{- with .Values.image.pullSecrets }}
RECON3D_IMAGE_PULL_SECRETS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.jobs.podOverrides }}
RECON3D_POD_OVERRIDES: {{ join "," . | quote }}
{{- end }}
{{- if .Values.webhooks.enabled }}
RECON3D_WEBHOOKS: "true"
{{- with .Values.webhooks.privateHosts }}
RECON3D_WEBHOOK_PRIVATE_HOSTS: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- if .Values.kueue.enabled }}
RECON3D_KUEUE: "true"
{{- end }}
{{- with .Values.jobs.inputHosts }}
RECON3D_INPUT_HOSTS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.jobs.inputS3 }}
RECON3D_INPUT_S3: {{ join "," . | quote }}
{{- end }}
{{- with .Values.jobs.outputRefs }}
RECON3D_OUTPUT_REFS: {{ join "," . | quote }}
{{- end }}
{{- with include "recon3d.licences" . }}
RECON3D_ACCEPT_LICENCES: {{ . | quote }}
{{- end }}
{{- if eq .Values.store.type "s3" }}
{{- with .Values.store.s3.secretName }}
RECON3D_STORE_SECRET: {{ . }}
{{- end }}
{{- end }}
{{- if .Values.progress.enabled }}
RECON3D_PROGRESS_URL: https://{{ $full }}-operator.{{ .Release.Namespace }}.svc:8443/progress
RECON3D_PROGRESS_CA: {{ include "recon3d.progressCa" . }}
RECON3D_PROGRESS_CERT: /tls/tls.crt
RECON3D_PROGRESS_KEY: /tls/tls.key
{{- end }}
{{- $labels := .Values.runner.labels }}
{{- if .Values.kueue.enabled }}
{{- $labels = merge (dict "kueue.x-k8s.io/queue-name" .Values.kueue.queueName) $labels }}
{{- end }}
{{- if $labels }}
RECON3D_LABELS: {{ include "recon3d.pairs" $labels | quote }}
{{- end }}
{{- range $name, $value := .Values.operator.env }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{- define "recon3d.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* A token of one's own instead of the one that every container would get. */}}
{{- define "recon3d.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}
