{{/* The store as api and sweeper see it, and the namespace whose jobs they look at: (dict "root" . "namespace" ns) */}}
{{- define "recon3d.storeEnv" -}}
- name: RECON3D_STORE
  value: {{ ternary (include "recon3d.s3" .root) "/store" (eq .root.Values.store.type "s3") | quote }}
- name: RECON3D_NAMESPACE
  value: {{ .namespace }}
{{- with .root.Values.jobs.outputRefs }}
- name: RECON3D_OUTPUT_REFS
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{- define "recon3d.storeEnvFrom" -}}
{{- if and (eq .Values.store.type "s3") .Values.store.s3.secretName }}
envFrom:
  - secretRef:
      name: {{ .Values.store.s3.secretName }}
{{- end }}
{{- end -}}
