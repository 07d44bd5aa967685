{
  "targets": [
    {
      "target_name": "neighbor",
      "sources": ["neighbor.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags_cc": ["-std=c++17"],
      "libraries": ["-lpthread"]
    }
  ]
}
