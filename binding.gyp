{
  'targets': [
    {
      'target_name': 'cc-lb-runtime-wasmtime',
      'type': 'none',
      'actions': [
        {
          'action_name': 'napi_build',
          'inputs': [],
          # The second output is never made: cargo, not gyp, decides what is up to date.
          'outputs': ['<(PRODUCT_DIR)/cc-lb-runtime-wasmtime.node', '<(PRODUCT_DIR)/never-made'],
          'action': ['node', 'scripts/prebuild-addon.mjs', '<(module_root_dir)'],
        },
      ],
    },
  ],
}
